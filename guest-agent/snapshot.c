// A machine does not notice that it was copied, but the copy loses its connections. So a frozen
// machine that loses the control connection takes itself for a copy, and does not run before it is
// made different. The order counts: processes run last, after all that they could read is new.
#include "snapshot.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "boot/machine.h"
#include "boot/network.h"
#include "boot/random.h"
#include "container/clone.h"
#include "container/freezer.h"
#include "container/identity.h"
#include "process/process.h"
#include "process/stream.h"

enum {
	UUID_LENGTH = 36,
	MACHINE_ID_LENGTH = 32,
};

static enum {
	RUNNING,
	FROZEN,
	RESTORED, // frozen, and the control connection was lost
	BROKEN,   // frozen for good
} state = RUNNING;

bool snapshot_is_frozen(void)
{
	return state != RUNNING;
}

bool snapshot_lose_host(void)
{
	if (state == FROZEN)
		state = RESTORED;
	return state == RESTORED;
}

bool snapshot_freeze(const struct freeze_request *request, struct failure *failure)
{
	if (state != RUNNING)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine is frozen");
	if (process_is_any_loose())
		return fail(failure, ERROR_BAD_REQUEST, 0, "a process is being started, or a tool runs");
	if (!freezer_freeze_all(request->timeout, failure))
		return false;
	stream_take_input_all();
	sync();
	state = FROZEN;
	return true;
}

static bool is_written_in(const char *text, size_t length, const char *characters)
{
	return text != NULL && strlen(text) == length && strspn(text, characters) == length;
}

static bool is_uuid(const char *text)
{
	return is_written_in(text, UUID_LENGTH, "0123456789abcdef-");
}

static const struct identity_spec *find_identity(const struct thaw_request *request, uint32_t container)
{
	for (size_t i = 0; i < request->identities.count; i++) {
		if (request->identities.items[i].container == container)
			return &request->identities.items[i];
	}
	return NULL;
}

// Refuses a thaw that would leave a container of a clone what it was.
static bool check_clone(const struct thaw_request *request, struct failure *failure)
{
	if (!is_uuid(request->boot_id))
		return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: bootId is not a UUID");
	for (struct container *container = NULL; (container = container_next(container)) != NULL;) {
		const struct identity_spec *identity = find_identity(request, container->id);

		if (identity == NULL)
			return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: container %u has no identity", container->id);
		if (!is_written_in(identity->machine_id, MACHINE_ID_LENGTH, "0123456789abcdef"))
			return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: machineId is not 32 hex digits");
	}
	return true;
}

static bool check(const struct thaw_request *request, struct failure *failure)
{
	const bool renews = request->entropy[0] != '\0' || request->generation != NULL;

	if (state == RUNNING)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine is not frozen");
	if (state == BROKEN)
		return fail(failure, ERROR_BAD_REQUEST, 0, "the machine could not be thawed before");
	if ((state == RESTORED || renews || request->boot_id != NULL) &&
	    (request->clock == 0 || !is_uuid(request->generation)))
		return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: a restored machine needs a clock and a generation");
	if (request->boot_id == NULL && (request->has_network || request->identities.count > 0))
		return fail(failure, ERROR_BAD_REQUEST, 0, "thaw: only a clone has a bootId, network and identities");
	return request->boot_id == NULL || check_clone(request, failure);
}

static bool set_clock(uint64_t microseconds, struct failure *failure)
{
	return machine_set_clock(microseconds) || fail(failure, ERROR_SETUP_FAILED, errno, "set the clock");
}

static bool become_clone(const struct thaw_request *request, struct failure *failure)
{
	identity_set_boot_id(request->boot_id);
	for (struct container *container = NULL; (container = container_next(container)) != NULL;) {
		if (!clone_change(container, find_identity(request, container->id), failure))
			return false;
	}
	return !request->has_network || network_configure_again(&request->network, failure);
}

static bool renew(const struct thaw_request *request, struct failure *failure)
{
	if (request->generation == NULL)
		return true;
	identity_set_generation(request->generation);
	return random_reseed(request->entropy, failure) && set_clock(request->clock, failure) &&
	       clone_write_generation(failure) && (request->boot_id == NULL || become_clone(request, failure));
}

bool snapshot_thaw(const struct thaw_request *request, struct failure *failure)
{
	if (!check(request, failure))
		return false;
	if (!renew(request, failure)) {
		state = BROKEN;
		return false;
	}
	if (state == RESTORED)
		stream_reconnect_all();
	if (!freezer_thaw_all(failure)) {
		state = BROKEN;
		return false;
	}
	state = RUNNING;
	return true;
}
