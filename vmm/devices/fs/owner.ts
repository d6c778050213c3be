// Ownership of a share's files, on the host and in the guest.

/** The owner, in the guest, of files that belong to other host users (Linux, overflowuid). */
export const NOBODY = 65534;

/**
 * The host user whose files belong to root in the guest. Without one, users are the same on both
 * sides.
 */
export interface Owner {
  uid: number;
  gid: number;
}

/** Translates a host user or group to the guest's. */
export function toGuest(id: number, own: number | undefined): number {
  if (own === undefined) return id;
  return id === own ? 0 : NOBODY;
}

/** Translates a guest user or group to the host's; undefined if the host has none for it. */
export function toHost(id: number, own: number | undefined): number | undefined {
  if (own === undefined) return id;
  return id === 0 ? own : undefined;
}
