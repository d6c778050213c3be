// The table of containers.
#include "container/container.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/cgroup.h"
#include "container/device-rules.h"
#include "container/disk.h"
#include "container/identity.h"
#include "container/rootfs.h"
#include "protocol/request.h"

#define CONTAINERS "/run/containers"

enum { MAX_CONTAINERS = 64 };

static struct container containers[MAX_CONTAINERS];

static struct container *look_up(uint32_t id)
{
	for (size_t i = 0; i < MAX_CONTAINERS; i++) {
		if (containers[i].id == id)
			return &containers[i];
	}
	return NULL;
}

struct container *container_find(uint32_t id, struct failure *failure)
{
	struct container *container = look_up(id);

	if (container == NULL)
		fail(failure, ERROR_NO_SUCH_CONTAINER, 0, "no container %u", id);
	return container;
}

struct container *container_next(struct container *container)
{
	container = container == NULL ? containers : container + 1;
	while (container < containers + MAX_CONTAINERS && container->id == 0)
		container++;
	return container < containers + MAX_CONTAINERS ? container : NULL;
}

// Two overlays in one writable layer would destroy it.
static bool scratch_is_free(const char *scratch, struct failure *failure)
{
	for (size_t i = 0; scratch != NULL && i < MAX_CONTAINERS; i++) {
		if (containers[i].id != 0 && containers[i].spec->root.scratch != NULL &&
		    strcmp(containers[i].spec->root.scratch, scratch) == 0)
			return fail(failure, ERROR_BAD_REQUEST, 0, "container %u has scratch disk %s", containers[i].id,
				    scratch);
	}
	return true;
}

static bool make_directory(const char *path, struct failure *failure)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST || fail(failure, ERROR_SETUP_FAILED, errno, "mkdir %s", path);
}

// Called in the container's directory.
static bool make(struct container *container, struct failure *failure)
{
	return disk_mount(&container->spec->root, failure) && rootfs_write_files(container->spec, failure) &&
	       identity_write_files(failure) && rootfs_share_memory(container->spec, failure) &&
	       cgroup_create(container->id, &container->spec->limits, &container->cgroup, failure) &&
	       device_rules_set(container->cgroup, container->spec, failure);
}

// Undoes make(), even if that failed halfway. Called in the container's directory.
static bool unmake(struct container *container)
{
	bool unmounted = disk_unmount();

	if (container->cgroup >= 0)
		close(container->cgroup);
	container->cgroup = -1;
	cgroup_remove(container->id);
	rootfs_remove_files();
	identity_remove_files();
	return unmounted;
}

// Leaves and removes the container's directory.
static void leave_directory(const struct container *container)
{
	(void)!chdir("/");
	rmdir(container->directory);
}

bool container_create(struct request *request, struct failure *failure)
{
	const uint32_t id = request->container.id;
	struct container *container = look_up(0);
	bool made;

	if (look_up(id) != NULL)
		return fail(failure, ERROR_BAD_REQUEST, 0, "container %u exists", id);
	if (container == NULL)
		return fail(failure, ERROR_SETUP_FAILED, 0, "more than %d containers", MAX_CONTAINERS);
	if (!scratch_is_free(request->container.root.scratch, failure))
		return false;
	*container = (struct container){ .id = id, .request = *request, .cgroup = -1, .pidfd = -1 };
	container->spec = &container->request.container;
	snprintf(container->directory, sizeof container->directory, CONTAINERS "/%u", id);
	made = make_directory(CONTAINERS, failure) && make_directory(container->directory, failure) &&
	       (chdir(container->directory) == 0 ||
		fail(failure, ERROR_SETUP_FAILED, errno, "%s", container->directory));
	if (made && !make(container, failure)) {
		unmake(container);
		leave_directory(container);
		made = false;
	}
	if (!made) {
		*container = (struct container){ 0 };
		return false;
	}
	(void)!chdir("/");
	*request = (struct request){ 0 };
	return true;
}

void container_end(struct container *container)
{
	container->state = CONTAINER_ENDED;
	container->pid = 0;
	if (container->pidfd >= 0)
		close(container->pidfd);
	container->pidfd = -1;
}

bool container_remove(struct container *container, struct failure *failure)
{
	if (chdir(container->directory) != 0)
		return fail(failure, ERROR_SETUP_FAILED, errno, "%s", container->directory);
	if (!unmake(container)) {
		(void)!chdir("/");
		return fail(failure, ERROR_SETUP_FAILED, EBUSY, "unmount the writable layer of container %u",
			    container->id);
	}
	leave_directory(container);
	request_free(&container->request);
	*container = (struct container){ 0 };
	return true;
}

void container_remove_all(void)
{
	struct failure ignored;

	for (size_t i = 0; i < MAX_CONTAINERS; i++) {
		if (containers[i].id != 0)
			container_remove(&containers[i], &ignored);
	}
	sync();
}
