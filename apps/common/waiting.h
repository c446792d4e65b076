// How threads of the CPU backend wait for each other.
#ifndef SDG_APPS_COMMON_WAITING_H
#define SDG_APPS_COMMON_WAITING_H

// Call first in main(). GNU OpenMP reads its settings when the program is loaded, and its default suits an empty
// machine only: threads that the scheduler has put on one core, or that share the machine with other work, spin for
// milliseconds at every operation, and a picture of 0.4 s takes 3 to 20 (docs/speed.md). So unless the user has chosen
// any of them, the program starts itself again with settings of its own: short spins with a core for each thread when
// all cores are used, no spins when `-t` asks for fewer. Returns if there is nothing to do.
void app_wait_politely(char **argv);

#endif
