// A segment register of x86. The boot state defines the values; the vCPU receives them.

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
