// The user that a process runs as: `user[:group]`, looked up in the image's passwd and group files
// as Docker does.
#ifndef TSVM_USER_H
#define TSVM_USER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// The contents of /etc/passwd and /etc/group. They are the image's, and so untrusted.
struct accounts {
	char *passwd;
	size_t passwd_length;
	char *group;
	size_t group_length;
};

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; // supplementary; user_find() puts the primary group first
	size_t group_count;
	char home[PATH_MAX];
};

// Reads both files from the current root. A missing file is empty.
bool accounts_read(struct accounts *accounts, struct failure *failure);

// Finds the user of `spec`: names or numbers, "" for root. Adds `more_groups` to the user's own
// groups. Free `user` afterwards, whether this succeeds or not.
bool user_find(struct user *user, const struct accounts *accounts, const char *spec,
	       const struct text_list *more_groups, struct failure *failure);

// Takes `spec`, `UID:GID`, and `groups` as they are: no name is looked up, and no group is added. The
// home is that of the first entry with this uid. Free `user` afterwards, whether this succeeds or not.
bool user_exact(struct user *user, const struct accounts *accounts, const char *spec, const struct text_list *groups,
		struct failure *failure);

void user_free(struct user *user);

#endif
