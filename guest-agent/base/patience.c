#include "base/patience.h"

enum { STEP = 100 }; // milliseconds

int patience_poll(struct pollfd *wait, uint64_t *left)
{
	const uint64_t step = *left < STEP ? *left : STEP;

	*left -= step;
	return poll(wait, 1, (int)step);
}
