// Reseeds by ioctl(2): random(4). A write to /dev/urandom would only be used at the kernel's next
// reseed, up to a minute later. RNDRESEEDCRNG draws a new base key and raises the generator's
// generation. Each CPU compares its own with it before it hands out bytes, so the keys and batches of
// all CPUs end with the ioctl.
#include "boot/random.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/linux.h"

#define DEVICE "/dev/urandom"

enum {
	MIN_BYTES = 64,
	MAX_BYTES = 512,
};

// struct rand_pool_info (linux/random.h)
struct pool_entropy {
	int bits;
	int size; // bytes
	uint8_t bytes[MAX_BYTES];
};

// Returns the value of a hex digit, or -1.
static int digit(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	return -1;
}

static bool decode(const char *text, struct pool_entropy *entropy, struct failure *failure)
{
	size_t length = strlen(text);

	if (length % 2 != 0 || length < 2 * MIN_BYTES || length > 2 * MAX_BYTES)
		return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: entropy is not %d to %d bytes", MIN_BYTES, MAX_BYTES);
	for (size_t i = 0; i < length / 2; i++) {
		int high = digit(text[2 * i]);
		int low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: entropy is not hex digits");
		entropy->bytes[i] = (uint8_t)(high << 4 | low);
	}
	entropy->size = (int)(length / 2);
	entropy->bits = 8 * entropy->size;
	return true;
}

bool random_reseed(const char *text, struct failure *failure)
{
	struct pool_entropy entropy;
	bool reseeded = false;
	int device;

	if (!decode(text, &entropy, failure))
		return false;
	device = open(DEVICE, O_RDONLY | O_CLOEXEC);
	if (device < 0)
		fail(failure, ERROR_SETUP_FAILED, errno, DEVICE);
	else if (ioctl(device, RNDADDENTROPY, &entropy) != 0)
		fail(failure, ERROR_SETUP_FAILED, errno, "add entropy");
	else if (ioctl(device, RNDRESEEDCRNG) != 0)
		fail(failure, ERROR_SETUP_FAILED, errno, "reseed");
	else
		reseeded = true;
	if (device >= 0)
		close(device);
	explicit_bzero(&entropy, sizeof entropy);
	return reseeded;
}
