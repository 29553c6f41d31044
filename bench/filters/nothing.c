// Has every callback, and does nothing in any of them.
#include "abi.h"
EXPORT("proxy_on_context_create") void create(u32 context, u32 parent) {}
EXPORT("proxy_on_request_headers") u32 request_headers(u32 context, u32 fields, u32 end) { return 0; }
EXPORT("proxy_on_response_headers") u32 response_headers(u32 context, u32 fields, u32 end) { return 0; }
EXPORT("proxy_on_done") u32 done(u32 context) { return 1; }
EXPORT("proxy_on_log") void on_log(u32 context) {}
EXPORT("proxy_on_delete") void delete(u32 context) {}
