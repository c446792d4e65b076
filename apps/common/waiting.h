// How threads of the CPU backend wait for each other.
#ifndef SDG_APPS_COMMON_WAITING_H
#define SDG_APPS_COMMON_WAITING_H

// Call first in main(). GNU OpenMP reads its settings when the program is loaded, and its default is to spin for milliseconds: on a
// machine that does other work too, a picture of 0.5 s then takes 10 s and more (docs/speed.md). So unless the user has chosen
// (GOMP_SPINCOUNT, OMP_WAIT_POLICY), the program starts itself again with a short spin. Returns if there is nothing to do.
void app_wait_politely(char **argv);

#endif
