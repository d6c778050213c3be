// Setting the machine up: clock, network, shared folders.
#include "boot/machine.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "base/console.h"
#include "boot/boot.h"
#include "boot/network.h"

// The tag of the virtio-fs device.
#define SHARES_TAG "tsvm"

static bool is_set_up;

bool machine_set_clock(uint64_t microseconds)
{
	const struct timespec now = {
		.tv_sec = (time_t)(microseconds / 1000000),
		.tv_nsec = (long)(microseconds % 1000000) * 1000,
	};

	// A test's machine has the clock of its host.
	return microseconds == 0 || !boot_is_machine() || clock_settime(CLOCK_REALTIME, &now) == 0;
}

static bool mount_shares(struct failure *failure)
{
	if ((mkdir(MACHINE_SHARES, 0755) != 0 && errno != EEXIST) ||
	    mount(SHARES_TAG, MACHINE_SHARES, "virtiofs", MS_NODEV, NULL) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "mount the shared folders");
	return true;
}

bool machine_set_up(const struct machine_request *request, struct failure *failure)
{
	if (is_set_up)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine was set up before");
	if (!machine_set_clock(request->clock))
		console_log("clock: %s", strerror(errno));
	if (request->has_network && !network_configure(&request->network, failure))
		return false;
	for (size_t i = 0; i < request->more_networks.count; i++) {
		if (!network_configure(&request->more_networks.items[i], failure))
			return false;
	}
	if (request->shares && !mount_shares(failure))
		return false;
	is_set_up = true;
	return true;
}

bool machine_is_set_up(void)
{
	return is_set_up;
}
