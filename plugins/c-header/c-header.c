// Adds a field to every response. Its configuration is the field: "x-served-by: gateway".
//
// A filter is a WebAssembly module that exports the callbacks it wants and imports the functions it calls; see the
// Proxy-Wasm specification, ABI 0.2.1. This one has neither an SDK nor a C library beneath it.

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))

typedef unsigned char byte;
typedef __SIZE_TYPE__ size;

enum { OK = 0 };
enum { REFUSED = 0, ACCEPTED = 1 };
enum { CONTINUE = 0 };
enum { RESPONSE_HEADERS = 2 };
enum { PLUGIN_CONFIGURATION = 7 };
enum { LOG_ERROR = 4 };

IMPORT("proxy_log") int write_log(int level, const byte *text, size length);
IMPORT("proxy_get_buffer_bytes") int get_buffer(int buffer, size start, size length, byte **bytes, size *got);
IMPORT("proxy_add_header_map_value")
int add_header(int map, const byte *name, size name_length, const byte *value, size value_length);

// The field, in memory that the gateway filled.
static const byte *name, *value;
static size name_length, value_length;

EXPORT("proxy_abi_version_0_2_1") void abi_version(void) {}

// Where the gateway puts what this module asks for, here only the configuration: one block, used again by the next.
// Null says that it is too long.
EXPORT("proxy_on_memory_allocate") byte *allocate(size length) {
    static byte memory[4096];
    return length <= sizeof memory ? memory : 0;
}

static int is_space(byte c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// What a field's name is made of (RFC 9110 section 5.6.2).
static int is_name(byte c) {
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return 1;
    for (const char *other = "!#$%&'*+-.^_`|~"; *other; other++)
        if (c == (byte)*other) return 1;
    return 0;
}

static int refuse(void) {
    static const byte text[] = "config: expected a field, as in \"x-served-by: gateway\"";
    write_log(LOG_ERROR, text, sizeof text - 1);
    return REFUSED;
}

EXPORT("proxy_on_vm_start") int on_vm_start(int context, size length) { return ACCEPTED; }

EXPORT("proxy_on_configure") int on_configure(int context, size length) {
    byte *text = 0;
    if (get_buffer(PLUGIN_CONFIGURATION, 0, length, &text, &length) != OK || !text) return refuse();
    byte *end = text + length, *colon = text;
    while (colon < end && is_name(*colon)) colon++;
    if (colon == text || colon == end || *colon != ':') return refuse();
    byte *first = colon + 1;
    while (first < end && is_space(*first)) first++;
    while (end > first && is_space(end[-1])) end--;
    for (byte *c = first; c < end; c++)
        if ((*c < ' ' && *c != '\t') || *c == 127) return refuse();
    name = text;
    name_length = colon - text;
    value = first;
    value_length = end - first;
    return ACCEPTED;
}

// A context is one request; nothing is kept of it.
EXPORT("proxy_on_context_create") void on_context_create(int context, int parent) {}

EXPORT("proxy_on_response_headers") int on_response_headers(int context, int count, int end_of_stream) {
    add_header(RESPONSE_HEADERS, name, name_length, value, value_length);
    return CONTINUE;
}
