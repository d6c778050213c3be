// The kernel's random number generator.
#ifndef TSVM_RANDOM_H
#define TSVM_RANDOM_H

#include "protocol/failure.h"

// Mixes the host's random bytes, given as hex digits, into the kernel's generator, and has it draw
// new keys at once. What the kernel hands out afterwards depends on them. Fewer than 64 bytes are
// an error.
bool random_reseed(const char *entropy, struct failure *failure);

#endif
