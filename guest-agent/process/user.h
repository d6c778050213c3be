// Who a process runs as: `user[:group]` looked up in the image's passwd and group files, as Docker does.
#ifndef TSVM_USER_H
#define TSVM_USER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol/failure.h"
#include "protocol/protocol.h"

// The contents of /etc/passwd and /etc/group; written by the image, so by anybody.
struct accounts {
	char *passwd;
	size_t passwd_length;
	char *group;
	size_t group_length;
};

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; // supplementary; the primary group is the first
	size_t group_count;
	char home[PATH_MAX];
};

// Reads both files of the running root; a file that is not there is empty.
bool accounts_read(struct accounts *accounts, struct failure *failure);

// Finds the user that `spec` names: names or numbers, "" for root. `more_groups` are added to the user's own.
// `user` is to be freed either way.
bool user_find(struct user *user, const struct accounts *accounts, const char *spec,
	       const struct text_list *more_groups, struct failure *failure);

void user_free(struct user *user);

#endif
