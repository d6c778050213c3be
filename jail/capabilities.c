#include "jail.h"
#include "linux.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAST_POSSIBLE 63

bool has_capability(int capability)
{
	struct cap_header header = { LINUX_CAPABILITY_VERSION_3, 0 };
	struct cap_data data[2] = { { 0 } };
	if (syscall(SYS_capget, &header, data) != 0)
		return false;
	return (data[capability / 32].effective & (1u << (capability % 32))) != 0;
}

bool drop_capabilities(uint64_t kept)
{
	for (int each = 0; each <= LAST_POSSIBLE; each++) {
		if ((kept & (1ull << each)) != 0)
			continue;
		// EINVAL: the kernel has fewer. EPERM: a user without capabilities, to whom no_new_privs gives none.
		if (prctl(PR_CAPBSET_DROP, each, 0, 0, 0) != 0 && errno != EINVAL && errno != EPERM)
			return false;
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	// The program gets what is kept as ambient capabilities, so that it can start others without them. Where
	// CAP_SETPCAP is missing, root's id gives them to others too.
	if (kept != 0)
		prctl(PR_SET_SECUREBITS, SECBITS_NO_ROOT, 0, 0, 0);
	struct cap_header header = { LINUX_CAPABILITY_VERSION_3, 0 };
	struct cap_data data[2] = { { 0 } };
	if (syscall(SYS_capget, &header, data) != 0)
		return false;
	for (int word = 0; word < 2; word++) {
		data[word].permitted &= (uint32_t)(kept >> (32 * word));
		data[word].effective = data[word].permitted;
		data[word].inheritable = data[word].permitted;
	}
	if (syscall(SYS_capset, &header, data) != 0)
		return false;
	for (int each = 0; each <= LAST_POSSIBLE; each++) {
		bool has = (data[each / 32].permitted & (1u << (each % 32))) != 0;
		if (has && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, each, 0, 0) != 0)
			return false;
	}
	return true;
}
