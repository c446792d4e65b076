// Preloaded in the sanitizer build: a library that was unloaded before the leak check has no name in it, so what a
// Vulkan driver keeps could not be told from our leaks. See tests/lsan.supp.
__attribute__((visibility("default"))) int dlclose(void *handle);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
