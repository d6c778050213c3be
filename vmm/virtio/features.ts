// Feature bits (virtio 1.2, 2.2) as transports represent them: 64 bits in two words.

/** Bits 0 to 31, and bits 32 to 63. */
export type FeatureWords = [low: number, high: number];

/** Returns the words that have these bits set. Each bit is from 0 to 63. */
export function featureWords(bits: Iterable<number>): FeatureWords {
  let low = 0;
  let high = 0;
  for (const bit of bits) {
    if (bit < 32) low |= 1 << bit;
    else high |= 1 << (bit - 32);
  }
  return [low >>> 0, high >>> 0];
}

export function hasFeature(words: Readonly<FeatureWords>, bit: number): boolean {
  return (((bit < 32 ? words[0] : words[1]) >>> (bit & 31)) & 1) !== 0;
}

/** Returns true if every bit of `accepted` is offered. */
export function areOffered(accepted: Readonly<FeatureWords>, offered: Readonly<FeatureWords>): boolean {
  return (accepted[0] & ~offered[0]) === 0 && (accepted[1] & ~offered[1]) === 0;
}
