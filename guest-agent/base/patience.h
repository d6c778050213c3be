// Waits with a deadline that passes only while the machine runs. On a busy host it stands still for
// seconds: its clock goes on, and whatever is waited for does not.
#ifndef TSVM_PATIENCE_H
#define TSVM_PATIENCE_H

#include <poll.h>
#include <stdint.h>

// Waits a part of the milliseconds in `left`, and takes it from them, however late the wait ends: all
// others of the machine have a turn before the next part. Returns as poll(2). To be called again until
// nothing is left.
int patience_poll(struct pollfd *wait, uint64_t *left);

#endif
