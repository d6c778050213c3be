// Decoding the host's requests. PROTOCOL.md, "Fields".
#ifndef TSVM_REQUEST_H
#define TSVM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Decodes a payload. The payload then belongs to the request: texts and programs point into it, and
// texts are terminated in place. Free the request afterwards, whether this succeeds or not.
bool request_decode(struct request *request, uint16_t type, uint8_t *payload, size_t length, struct failure *failure);

// Frees the payload and the lists. A request that is all zero has none.
void request_free(struct request *request);

#endif
