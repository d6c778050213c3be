// Where a network device's frames go to and come from.
import type { BufferList } from '../../virtio/buffers.js';
import type { NetHeader } from './header.js';

/** Bytes before a frame's copied part, for what a back end has to write there. */
export const HEADROOM = 16;

/** An outgoing frame: its beginning was copied out of guest memory and checked, the rest is in the guest's buffers. */
export interface CheckedFrame {
  /** Settled: see {@link NetHeader.settle}. */
  header: NetHeader;
  /** {@link HEADROOM} bytes, and then the frame's first `copied` bytes. */
  bytes: Uint8Array;
  /** Where `bytes` are in this process. */
  memory: number;
  copied: number;
  /** The frame from `copied` on: `length - copied` bytes from `offset` of the buffers. */
  rest: BufferList;
  offset: number;
  /** Of the frame. */
  length: number;
}

export interface FrameReceiver {
  /**
   * A frame for the guest: `length` bytes from `start` of `bytes`, which are valid during the call alone. `header` says
   * what is left to do for it; its `num_buffers` is the receiver's.
   * @returns false when the guest has no room: the back end keeps the frame until {@link NetBackEnd.resume}
   */
  receive(header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean;
  /** The frames received since the last call are to be shown to the guest now. */
  flush(): void;
  /** The back end can send again, after it was {@link NetBackEnd.busy}. */
  ready(): void;
  /** The back end is gone for good. */
  lost(): void;
}

export interface NetBackEnd extends Disposable {
  /** Whether it takes and gives TCP segments that are larger than the MTU, and checksums that are not complete. */
  readonly offloads: boolean;
  /** It cannot take a frame now, and says when it can. */
  readonly busy: boolean;
  /** From now on frames are received. Called again after {@link detach}. */
  attach(receiver: FrameReceiver): void;
  detach(): void;
  /** Sends a frame, when not busy; takes all of it at once. */
  send(frame: CheckedFrame): void;
  /** The guest has room again. */
  resume(): void;
}
