// The back end of a network device: sends the guest's frames, and receives frames for it.
import type { BufferList } from '../../virtio/buffers.js';
import type { Frame } from './frame.js';
import type { NetHeader } from './header.js';

/** Bytes before a frame's copied part, where a back end may write a header. */
export const HEADROOM = 16;

/**
 * An outgoing frame. Its beginning was copied out of guest memory and checked; the rest is in the
 * guest's buffers.
 */
export interface CheckedFrame {
  /** Settled: see {@link NetHeader.settle}. */
  header: NetHeader;
  /** The parsed headers. Valid until the back end passes on a frame for the guest. */
  frame: Frame;
  /** {@link HEADROOM} bytes, and then the frame's first `copied` bytes. */
  bytes: Uint8Array;
  /** Address of `bytes` in this process. */
  memory: number;
  copied: number;
  /** The frame from `copied` on: `length - copied` bytes from `offset` of the buffers. */
  rest: BufferList;
  offset: number;
  /** Of the frame. */
  length: number;
}

export interface FrameReceiver {
  /** True if the guest takes TCP segments larger than its maximum segment size. */
  readonly takesSegments: boolean;
  /**
   * Takes a frame for the guest: `length` bytes from `start` of `bytes`, which are valid during the
   * call only. `header` describes pending checksums and segmentation; the receiver writes its
   * `num_buffers`.
   * @returns false if the guest has no room: the back end keeps the frame until
   * {@link NetBackEnd.resume}
   */
  receive(header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean;
  /** Notifies the guest of the frames received since the last call. */
  flush(): void;
  /** The back end is no longer {@link NetBackEnd.busy}. */
  ready(): void;
  /** The back end has failed and does not come back. */
  lost(): void;
}

export interface NetBackEnd extends Disposable {
  /** True if it sends and receives TCP segments larger than the MTU, and incomplete checksums. */
  readonly offloads: boolean;
  /** True while it cannot take a frame. It calls {@link FrameReceiver.ready} afterwards. */
  readonly busy: boolean;
  /** Starts receiving frames. May be called again after {@link detach}. */
  attach(receiver: FrameReceiver): void;
  detach(): void;
  /** Sends a whole frame. Must not be called while busy. */
  send(frame: CheckedFrame): void;
  /** The guest has room again. */
  resume(): void;
}
