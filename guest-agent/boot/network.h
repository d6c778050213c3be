// The machine's network interface: static addresses and routes, as the host says; no DHCP, no router advertisements.
#ifndef TSVM_NETWORK_H
#define TSVM_NETWORK_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Brings the interface up, if there is to be one.
bool network_configure(const struct network_spec *network, struct failure *failure);

#endif
