// The numbers of a tar archive, all of them hostile input.
#ifndef TSVM_TAR_NUMBER_H
#define TSVM_TAR_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

// Each returns false unless the whole text is a number in range.

// A field of a header: octal digits between spaces and NULs, or GNU's base 256, which is a two's
// complement number in big-endian order whose first bit is set. An empty field is 0.
bool tar_parse_field(const char *field, size_t size, int64_t *value);

// A field of a header that is at least 0 and at most `max`.
bool tar_parse_unsigned_field(const char *field, size_t size, uint64_t max, uint64_t *value);

// Decimal digits that give at most `max`, which is at most INT64_MAX.
bool tar_parse_decimal(const char *text, size_t length, uint64_t max, uint64_t *value);

// The time of a pax record: decimal seconds since 1970 with an optional sign and fraction. Digits
// beyond the nanosecond are dropped.
bool tar_parse_time(const char *text, size_t length, struct timespec *time);

#endif
