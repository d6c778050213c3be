// The operations of files that are measured: in the image, and in a folder of the host.
#include "gauge.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL = 512, BLOCK = 4096, LARGE = 131072, MEBIBYTE = 1048576, SIZE = 16 * MEBIBYTE };

const char *gauge_folder;

/** The file of the image is this program: it is in the root of each level. */
static char own_path[4096];
/** The file in the folder. */
static char path[4096];
static int file = -1;
static char bytes[LARGE];

static void find_self(void)
{
	ssize_t length = readlink(GAUGE_SELF, own_path, sizeof(own_path) - 1);
	if (length < 0)
		gauge_fail(GAUGE_SELF);
	own_path[length < 0 ? 0 : length] = '\0';
}

static void name_file(void)
{
	snprintf(path, sizeof(path), "%s/%s", gauge_folder, "file");
}

/** Writes the file in the folder, and opens it. */
static void make_file(void)
{
	name_file();
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (file < 0)
		gauge_fail(path);
	for (off_t at = 0; at < SIZE; at += LARGE)
		if (pwrite(file, bytes, LARGE, at) != LARGE)
			gauge_fail(path);
}

static void open_own(void)
{
	find_self();
	file = open(own_path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		gauge_fail(own_path);
}

static void open_close(const char *name, uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++) {
		int opened = open(name, O_RDONLY | O_CLOEXEC);
		if (opened < 0)
			gauge_fail(name);
		close(opened);
	}
}

static void open_root(uint64_t turns)
{
	open_close(own_path, turns);
}

static void open_folder(uint64_t turns)
{
	open_close(path, turns);
}

static void create(uint64_t turns)
{
	char name[sizeof(path) + 8];
	snprintf(name, sizeof(name), "%s.new", path);
	for (uint64_t turn = 0; turn < turns; turn++) {
		int made = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (made < 0)
			gauge_fail(name);
		close(made);
		if (unlink(name) != 0)
			gauge_fail(name);
	}
}

static void read_at(off_t offset, size_t length)
{
	if (pread(file, bytes, length, offset) != (ssize_t)length)
		gauge_fail("pread");
}

static void write_at(off_t offset, size_t length)
{
	if (pwrite(file, bytes, length, offset) != (ssize_t)length)
		gauge_fail("pwrite");
}

/** The first 8 KiB of a file, 512 bytes at a time. */
static void read_small(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		read_at((off_t)(turn % 16) * SMALL, SMALL);
}

/** A block of the file: each turn another one, in no order that is foreseen. */
static off_t random_block(void)
{
	static uint64_t state = 88172645463325252;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (off_t)(state % (SIZE / BLOCK)) * BLOCK;
}

static void read_random(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		read_at(random_block(), BLOCK);
}

static void write_random(uint64_t turns)
{
	for (uint64_t turn = 0; turn < turns; turn++)
		write_at(random_block(), BLOCK);
}

/** Does so many MiB, one after another, in large blocks. */
static void in_sequence(uint64_t turns, void (*act)(off_t offset, size_t length))
{
	for (uint64_t turn = 0; turn < turns; turn++)
		for (off_t at = 0; at < MEBIBYTE; at += LARGE)
			act((off_t)(turn % (SIZE / MEBIBYTE)) * MEBIBYTE + at, LARGE);
}

static void read_sequence(uint64_t turns)
{
	in_sequence(turns, read_at);
}

static void write_sequence(uint64_t turns)
{
	in_sequence(turns, write_at);
}

const struct operation GAUGE_FILE_OPERATIONS[] = {
	{ "open", open_root, find_self },
	{ "read", read_small, open_own },
	{ "folder-open", open_folder, make_file },
	{ "folder-read", read_small, make_file },
	{ "folder-create", create, name_file },
	{ "folder-read-random", read_random, make_file },
	{ "folder-write-random", write_random, make_file },
	{ "folder-read-sequence", read_sequence, make_file },
	{ "folder-write-sequence", write_sequence, make_file },
};
const size_t GAUGE_FILE_OPERATION_COUNT = sizeof(GAUGE_FILE_OPERATIONS) / sizeof(GAUGE_FILE_OPERATIONS[0]);
