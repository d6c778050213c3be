// The machine's network interface. Addresses and routes are static: no DHCP, no router
// advertisements.
#ifndef TSVM_NETWORK_H
#define TSVM_NETWORK_H

#include "protocol/failure.h"
#include "protocol/protocol.h"

// Brings the interface up and gives it its addresses and routes.
bool network_configure(const struct network_spec *network, struct failure *failure);

// Replaces what an earlier call has set: addresses, routes, neighbours.
bool network_configure_again(const struct network_spec *network, struct failure *failure);

#endif
