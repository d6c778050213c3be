// The relay's sockets come from the owner of the machine: this process has no network of the host.
// The requests of one turn of the event loop go in one message.
import type { OutsideSockets } from '../devices/net/relay/outside-sockets.js';
import type { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import { type ConnectAnswer, type ConnectRequest, MAX_CONNECTS, MachineError } from '../machine.js';

export class AskedSockets implements OutsideSockets {
  readonly #loop: EventLoop;
  readonly #send: (asked: ConnectRequest[]) => void;
  readonly #waiting = new Map<number, (fd: number) => void>();
  #asked: ConnectRequest[] = [];
  #lastId = 0;

  constructor(loop: EventLoop, send: (asked: ConnectRequest[]) => void) {
    this.#loop = loop;
    this.#send = send;
  }

  connect(address: Uint32Array, port: number, done: (fd: number) => void): void {
    this.#lastId = (this.#lastId + 1) >>> 0;
    this.#waiting.set(this.#lastId, done);
    if (this.#asked.length === 0) this.#loop.defer(() => this.#flush());
    this.#asked.push([this.#lastId, port, address[0]!, address[1]!, address[2]!, address[3]!]);
    if (this.#asked.length === MAX_CONNECTS) this.#flush();
  }

  #flush(): void {
    if (this.#asked.length > 0) this.#send(this.#asked);
    this.#asked = [];
  }

  /**
   * @param take the sockets that came, owned from now on
   * @throws MachineError if they are not as many as the answers say
   */
  answered(answers: readonly ConnectAnswer[], take: (count: number) => number[]): void {
    const sockets = take(answers.filter(([, errno]) => errno === 0).length);
    for (const [id, errno] of answers) {
      const fd = errno === 0 ? sockets.shift() : -errno;
      const done = this.#waiting.get(id);
      if (fd === undefined || done === undefined) {
        for (const each of fd !== undefined && fd >= 0 ? [fd, ...sockets] : sockets) libc.close(each);
        throw new MachineError('host', 'the owner of the machine answers what was not asked');
      }
      this.#waiting.delete(id);
      done(fd);
    }
  }
}
