// What the filters of this folder have in common: an allocator that starts anew with each callback, and the functions that
// every plugin must have. clang --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry -o NAME.wasm NAME.c
#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))
typedef unsigned int u32;
typedef unsigned char u8;

static u8 heap[1 << 20];
static u32 used;

EXPORT("proxy_abi_version_0_2_1") void abi_version(void) {}
EXPORT("proxy_on_memory_allocate") void *allocate(u32 size) {
    size = (size + 15) & ~15u;
    if (size > sizeof heap) return 0;
    if (used + size > sizeof heap) used = 0;
    void *at = heap + used;
    used += size;
    return at;
}
EXPORT("_initialize") void initialize(void) {}
EXPORT("proxy_on_vm_start") u32 vm_start(u32 context, u32 size) { return 1; }
EXPORT("proxy_on_configure") u32 configure(u32 context, u32 size) { return 1; }
