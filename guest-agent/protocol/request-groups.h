// The groups of fields that requests are made of.
#ifndef TSVM_REQUEST_GROUPS_H
#define TSVM_REQUEST_GROUPS_H

#include "protocol/field.h"
#include "protocol/request.h"

// Of a process: request-process.c.
struct group enter_process(const struct field *field);
void decode_process(struct decoder *decoder, struct group group, struct process_spec *process);
void free_process(struct process_spec *process);

// Of a container: request-container.c.
void decode_root(struct decoder *decoder, struct group group, struct root_spec *root);
void decode_tmpfs_mount(struct decoder *decoder, const struct field *field, struct start_request *start);
void decode_share_mount(struct decoder *decoder, const struct field *field, struct start_request *start);
void decode_network(struct decoder *decoder, struct group group, struct network_spec *network);
void decode_limits(struct decoder *decoder, struct group group, struct limits_spec *limits);
void decode_sysctls(struct decoder *decoder, const struct field *field, struct start_request *start);

#endif
