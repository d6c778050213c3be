#include "archive/tar-number.h"

#include <string.h>

static bool is_digit(char byte, char last)
{
	return byte >= '0' && byte <= last;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\0';
}

static bool parse_octal(const char *field, size_t size, int64_t *value)
{
	const char *end;

	while (size > 0 && is_blank(*field)) {
		field++;
		size--;
	}
	end = memchr(field, '\0', size);
	if (end != NULL)
		size = (size_t)(end - field);
	while (size > 0 && field[size - 1] == ' ')
		size--;
	*value = 0;
	for (size_t i = 0; i < size; i++) {
		if (!is_digit(field[i], '7') || *value > INT64_MAX >> 3)
			return false;
		*value = *value * 8 + (field[i] - '0');
	}
	return true;
}

static bool parse_base256(const char *field, size_t size, int64_t *value)
{
	const uint8_t *bytes = (const uint8_t *)field;

	*value = (bytes[0] & 0x40) != 0 ? (int64_t)(bytes[0] & 0x7f) - 0x80 : (int64_t)(bytes[0] & 0x7f);
	for (size_t i = 1; i < size; i++) {
		if (*value > INT64_MAX / 256 || *value < INT64_MIN / 256)
			return false;
		*value = *value * 256 + bytes[i];
	}
	return true;
}

bool tar_parse_field(const char *field, size_t size, int64_t *value)
{
	return (field[0] & 0x80) != 0 ? parse_base256(field, size, value) : parse_octal(field, size, value);
}

bool tar_parse_unsigned_field(const char *field, size_t size, uint64_t max, uint64_t *value)
{
	int64_t parsed;

	if (!tar_parse_field(field, size, &parsed) || parsed < 0 || (uint64_t)parsed > max)
		return false;
	*value = (uint64_t)parsed;
	return true;
}

bool tar_parse_decimal(const char *text, size_t length, uint64_t max, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < length; i++) {
		if (!is_digit(text[i], '9') || *value > max / 10)
			return false;
		*value = *value * 10 + (uint64_t)(text[i] - '0');
	}
	return length > 0 && *value <= max;
}

bool tar_parse_time(const char *text, size_t length, struct timespec *time)
{
	bool negative = length > 0 && text[0] == '-';
	const char *digits = text + (negative ? 1 : 0);
	size_t rest = length - (negative ? 1 : 0);
	const char *point = memchr(digits, '.', rest);
	size_t whole = point != NULL ? (size_t)(point - digits) : rest;
	uint64_t seconds;
	long scale = 100000000;

	if (!tar_parse_decimal(digits, whole, INT64_MAX, &seconds))
		return false;
	*time = (struct timespec){ .tv_sec = (time_t)seconds };
	for (size_t i = whole + 1; i < rest; i++, scale /= 10) {
		if (!is_digit(digits[i], '9'))
			return false;
		time->tv_nsec += (digits[i] - '0') * scale;
	}
	if (negative) {
		// The nanoseconds of a timespec count forwards.
		time->tv_sec = -time->tv_sec - (time->tv_nsec > 0 ? 1 : 0);
		time->tv_nsec = time->tv_nsec > 0 ? 1000000000 - time->tv_nsec : 0;
	}
	return true;
}
