// Control groups: how Linux limits what containers and services may use (cgroups(7)).
#ifndef SDG_BASE_CONTROL_GROUP_H
#define SDG_BASE_CONTROL_GROUP_H

#include <stdbool.h>

// `folder` of a group, where its limits are files; `v2`: which of the two versions names them.
typedef void sdg_control_group_fn(void *user, const char *folder, bool v2);

// Calls fn for the groups that this process is in and those that these are in, up to the root of what is mounted: of
// version 1 those of `controller` ("cpu"), of version 2 all. None where the system has none or does not say. `root`:
// "", or for tests a folder with a proc/self/cgroup and a proc/self/mountinfo of its own, below which the mounts are.
void sdg_control_groups(const char *root, const char *controller, sdg_control_group_fn *fn, void *user);

// The numbers in a group's file: true if it has `count` of them, which "max" is not.
bool sdg_control_group_numbers(const char *folder, const char *name, int count, double *numbers);
// CPUs that the groups' quotas leave this process, rounded up; 0 = no limit.
int sdg_control_group_cpus(const char *root);

#endif
