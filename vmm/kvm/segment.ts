// A segment register of x86: shared by the boot state, which says what it is, and the vCPU, which is given it.

/** A segment register with its hidden part (Intel SDM 3, 3.4.5). */
export interface Segment {
  base: number;
  /** Offset of the last byte, whatever the granularity. */
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
}
