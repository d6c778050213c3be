// Where the relay gets its sockets to hosts outside from. The device thread does not wait for them.
export interface OutsideSockets {
  /**
   * Begins to connect.
   * @param address as the guest sees it, valid during the call
   * @param done called at most once, now or later: with a non-blocking socket that is connected or
   * connecting, which the callee owns, or with the negated errno
   */
  connect(address: Uint32Array, port: number, done: (fd: number) => void): void;
}
