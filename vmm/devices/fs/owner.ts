// Whose the files of a share are, on the host and in the guest.

/** The user that files of others than the caller seem to belong to (Linux, overflowuid). */
export const NOBODY = 65534;

/** The host user whose files are root's in the guest; undefined: users are the same on both sides. */
export interface Owner {
  uid: number;
  gid: number;
}

/** A host user or group as the guest sees it. */
export function toGuest(id: number, own: number | undefined): number {
  if (own === undefined) return id;
  return id === own ? 0 : NOBODY;
}

/** A user or group of the guest on the host; undefined for one that is nobody there. */
export function toHost(id: number, own: number | undefined): number | undefined {
  if (own === undefined) return id;
  return id === 0 ? own : undefined;
}
