// Looks up users and groups by the rules of Docker's `--user`. An unknown name is an error, an
// unknown number is not. Supplementary groups come from the group file unless a group is named.
#include "process/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAX_ACCOUNT_FILE = 4 * 1024 * 1024,
	MAX_GROUPS = 65536, // NGROUPS_MAX
	PASSWD_COLUMNS = 7,
	GROUP_COLUMNS = 4,
};

// Of a name or number that Docker looks up.
#define MAX_ID ((uint32_t)INT32_MAX)
// Of a number that is taken as it is. The kernel takes the next one for "unchanged".
#define MAX_EXACT_ID (UINT32_MAX - 1)

// A part of a file or of `spec`, not terminated.
struct piece {
	const char *start;
	size_t length;
};

static bool same(struct piece piece, struct piece other)
{
	return piece.length == other.length && memcmp(piece.start, other.start, piece.length) == 0;
}

// Cuts the part before `separator` off the front of `rest`. Returns false if nothing is left.
static bool cut(struct piece *rest, char separator, struct piece *out)
{
	const char *end;

	if (rest->start == NULL)
		return false;
	end = memchr(rest->start, separator, rest->length);
	out->start = rest->start;
	if (end == NULL) {
		out->length = rest->length;
		rest->start = NULL;
		rest->length = 0;
	} else {
		out->length = (size_t)(end - rest->start);
		rest->length -= out->length + 1;
		rest->start = end + 1;
	}
	return true;
}

static bool parse_number(struct piece piece, uint32_t max, uint32_t *id)
{
	uint64_t value = 0;

	if (piece.length == 0 || piece.length > 10)
		return false;
	for (size_t i = 0; i < piece.length; i++) {
		if (piece.start[i] < '0' || piece.start[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(piece.start[i] - '0');
	}
	if (value > max)
		return false;
	*id = (uint32_t)value;
	return true;
}

static bool parse_id(struct piece piece, uint32_t *id)
{
	return parse_number(piece, MAX_ID, id);
}

// Stores the columns of the next line that has at least `least` of them. Missing ones are empty.
// Returns false at the end.
static bool next_line(struct piece *file, struct piece *columns, size_t count, size_t least)
{
	struct piece line;

	while (cut(file, '\n', &line)) {
		size_t found = 0;

		while (found < count && cut(&line, ':', &columns[found]))
			found++;
		for (size_t i = found; i < count; i++)
			columns[i] = (struct piece){ "", 0 };
		if (found >= least && columns[0].length > 0 && columns[0].start[0] != '#')
			return true;
	}
	return false;
}

static bool add_group(struct user *user, gid_t gid, struct failure *failure)
{
	for (size_t i = 0; i < user->group_count; i++) {
		if (user->groups[i] == gid)
			return true;
	}
	if (user->group_count == MAX_GROUPS)
		return fail(failure, ERROR_SETUP_FAILED, 0, "more than %d supplementary groups", MAX_GROUPS);
	if ((user->group_count & (user->group_count - 1)) == 0) { // full: it has grown by doubling
		size_t capacity = user->group_count == 0 ? 1 : 2 * user->group_count;
		gid_t *groups = reallocarray(user->groups, capacity, sizeof *groups);

		if (groups == NULL)
			return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "supplementary groups");
		user->groups = groups;
	}
	user->groups[user->group_count++] = gid;
	return true;
}

static void set_home(struct user *user, struct piece home)
{
	if (home.length == 0 || home.length >= sizeof user->home || memchr(home.start, '\0', home.length) != NULL)
		return;
	memcpy(user->home, home.start, home.length);
	user->home[home.length] = '\0';
}

// Sets uid, gid and home. Stores the user's name if the passwd file has one.
static bool find_user(struct user *user, struct piece passwd, struct piece wanted, struct piece *name,
		      struct failure *failure)
{
	struct piece columns[PASSWD_COLUMNS];
	uint32_t wanted_id = 0;
	bool numeric = wanted.length == 0 || parse_id(wanted, &wanted_id);

	while (next_line(&passwd, columns, PASSWD_COLUMNS, 4)) {
		uint32_t uid;
		uint32_t gid;

		if (!parse_id(columns[2], &uid) || !parse_id(columns[3], &gid))
			continue;
		if (!same(columns[0], wanted) && !(numeric && uid == wanted_id))
			continue;
		user->uid = uid;
		user->gid = gid;
		set_home(user, columns[5]);
		*name = columns[0];
		return true;
	}
	if (!numeric)
		return fail(failure, ERROR_NO_SUCH_USER, 0,
			    "unable to find user %.*s: no matching entries in passwd file", (int)wanted.length,
			    wanted.start);
	user->uid = wanted_id;
	return true;
}

static bool find_group(gid_t *gid, struct piece group, struct piece wanted, struct failure *failure)
{
	struct piece columns[GROUP_COLUMNS];
	uint32_t wanted_id = 0;
	bool numeric = parse_id(wanted, &wanted_id);

	while (next_line(&group, columns, GROUP_COLUMNS, 3)) {
		uint32_t id;

		if (parse_id(columns[2], &id) && (same(columns[0], wanted) || (numeric && id == wanted_id))) {
			*gid = id;
			return true;
		}
	}
	if (!numeric)
		return fail(failure, ERROR_NO_SUCH_USER, 0,
			    "unable to find group %.*s: no matching entries in group file", (int)wanted.length,
			    wanted.start);
	*gid = wanted_id;
	return true;
}

static bool is_member(struct piece members, struct piece name)
{
	struct piece member;

	while (cut(&members, ',', &member)) {
		if (same(member, name))
			return true;
	}
	return false;
}

static bool add_memberships(struct user *user, struct piece group, struct piece name, struct failure *failure)
{
	struct piece columns[GROUP_COLUMNS];

	while (next_line(&group, columns, GROUP_COLUMNS, GROUP_COLUMNS)) {
		uint32_t id;

		if (parse_id(columns[2], &id) && is_member(columns[3], name) && !add_group(user, id, failure))
			return false;
	}
	return true;
}

bool user_find(struct user *user, const struct accounts *accounts, const char *spec,
	       const struct text_list *more_groups, struct failure *failure)
{
	struct piece passwd = { accounts->passwd, accounts->passwd_length };
	struct piece group = { accounts->group, accounts->group_length };
	struct piece rest = { spec, strlen(spec) };
	struct piece wanted_user = { "", 0 };
	struct piece name = { "", 0 };

	*user = (struct user){ .home = "/" };
	cut(&rest, ':', &wanted_user);
	if (!find_user(user, passwd, wanted_user, &name, failure))
		return false;
	if (rest.length > 0 && !find_group(&user->gid, group, rest, failure))
		return false;
	if (!add_group(user, user->gid, failure))
		return false;
	if (rest.length == 0 && name.length > 0 && !add_memberships(user, group, name, failure))
		return false;
	for (size_t i = 0; i < more_groups->count; i++) {
		struct piece wanted = { more_groups->items[i], strlen(more_groups->items[i]) };
		gid_t gid;

		if (!find_group(&gid, group, wanted, failure) || !add_group(user, gid, failure))
			return false;
	}
	return true;
}

bool user_exact(struct user *user, const struct accounts *accounts, const char *spec, const struct text_list *groups,
		struct failure *failure)
{
	struct piece passwd = { accounts->passwd, accounts->passwd_length };
	struct piece columns[PASSWD_COLUMNS];
	struct piece rest = { spec, strlen(spec) };
	struct piece uid = { "", 0 };

	*user = (struct user){ .home = "/" };
	cut(&rest, ':', &uid);
	if (!parse_number(uid, MAX_EXACT_ID, &user->uid) || !parse_number(rest, MAX_EXACT_ID, &user->gid))
		return fail(failure, ERROR_BAD_REQUEST, 0, "user %.40s: not two numbers", spec);
	for (size_t i = 0; i < groups->count; i++) {
		struct piece wanted = { groups->items[i], strlen(groups->items[i]) };
		gid_t gid;

		if (!parse_number(wanted, MAX_EXACT_ID, &gid))
			return fail(failure, ERROR_BAD_REQUEST, 0, "group %.40s: not a number", groups->items[i]);
		if (!add_group(user, gid, failure))
			return false;
	}
	while (next_line(&passwd, columns, PASSWD_COLUMNS, 4)) {
		uint32_t found;

		if (parse_id(columns[2], &found) && found == user->uid) {
			set_home(user, columns[5]);
			break;
		}
	}
	return true;
}

void user_free(struct user *user)
{
	free(user->groups);
	user->groups = NULL;
}

// O_NONBLOCK, because the image may have a FIFO there.
static bool read_account_file(const char *path, char **contents, size_t *length, struct failure *failure)
{
	struct stat status;
	int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	*contents = NULL;
	*length = 0;
	if (file < 0)
		return errno == ENOENT || errno == ENOTDIR || fail(failure, ERROR_SETUP_FAILED, errno, "%s", path);
	if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(file);
		return fail(failure, ERROR_SETUP_FAILED, 0, "%s: is not a regular file", path);
	}
	if (status.st_size > MAX_ACCOUNT_FILE) {
		close(file);
		return fail(failure, ERROR_SETUP_FAILED, 0, "%s: is larger than 4 MiB", path);
	}
	*contents = malloc((size_t)status.st_size + 1);
	if (*contents == NULL) {
		close(file);
		return fail(failure, ERROR_SETUP_FAILED, ENOMEM, "%s", path);
	}
	while (*length < (size_t)status.st_size) {
		ssize_t count = read(file, *contents + *length, (size_t)status.st_size - *length);

		if (count <= 0)
			break;
		*length += (size_t)count;
	}
	close(file);
	return true;
}

bool accounts_read(struct accounts *accounts, struct failure *failure)
{
	*accounts = (struct accounts){ 0 };
	return read_account_file("/etc/passwd", &accounts->passwd, &accounts->passwd_length, failure) &&
	       read_account_file("/etc/group", &accounts->group, &accounts->group_length, failure);
}
