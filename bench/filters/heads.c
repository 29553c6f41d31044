// Looks at a field of the request and sets one of the response.
#include "abi.h"
IMPORT("proxy_get_header_map_value") u32 get(u32 map, const char *name, u32 name_size, u8 **value, u32 *size);
IMPORT("proxy_replace_header_map_value") u32 set(u32 map, const char *name, u32 name_size, const u8 *value, u32 size);
EXPORT("proxy_on_context_create") void create(u32 context, u32 parent) {}
EXPORT("proxy_on_request_headers") u32 request_headers(u32 context, u32 fields, u32 end) {
    u8 *path;
    u32 size;
    used = 0;
    get(0, ":path", 5, &path, &size);
    return 0;
}
EXPORT("proxy_on_response_headers") u32 response_headers(u32 context, u32 fields, u32 end) {
    set(2, "x-filtered", 10, (const u8 *)"yes", 3);
    return 0;
}
EXPORT("proxy_on_done") u32 done(u32 context) { return 1; }
EXPORT("proxy_on_log") void on_log(u32 context) {}
EXPORT("proxy_on_delete") void delete(u32 context) {}
