// Files of a bounded share that lost their last name while several machines have the share. The host
// keeps such a file as long as any of them has a descriptor of it, so its bytes stay in the count
// until each has looked at its descriptors. What a machine still has then it counts as its own.
//
// Each machine has a slot in the memory of the count. It collects deletions, and gives them the next
// number (EPOCH) together. Each other machine looks, and puts the number that it has seen into its
// slot. The owners mark slots of machines that are gone (sandbox/home/volume-count.ts), which may be
// dead at any moment; another machine takes over what is in such a slot.
import type { SharedCount } from './shared-count.js';

// In 32-bit words of the memory.
const EPOCH = 5;
const SLOTS = 16;
const SLOT_WORDS = 16;
const SLOT_COUNT = 63;

// In 32-bit words of a slot.
const STATE = 0;
const SEEN = 1;
/** The number of the deletions that wait for the other machines; 0 if there are none. */
const WAITS_FOR = 2;
// Pairs of u64: bytes, files.
const WAITING = 4;
const COLLECTED = 8;
/** In the count for files that this machine has open. */
const HELD = 12;

const FREE = 0;
const LIVE = 1;
const GONE = 2;

/** Its methods are called while the count is locked, except {@link hasWork}. */
export class Deletions {
  readonly #count: SharedCount;
  /** The first word of this machine's slot. */
  readonly #own: number;

  constructor(count: SharedCount, slot: number) {
    this.#count = count;
    this.#own = SLOTS + (slot % SLOT_COUNT) * SLOT_WORDS;
  }

  /** A file without a name was closed by this machine. */
  add(bytes: number, files: number): void {
    this.#move(this.#own + COLLECTED, bytes, files);
    this.advance();
  }

  /** What this machine has in the count for files without a name that it has open. */
  hold(bytes: number, files: number): void {
    this.#move(this.#own + HELD, bytes, files);
  }

  /** Returns true if another machine has the share. */
  get isShared(): boolean {
    return this.#some((slot) => slot !== this.#own && this.#count.words.load(slot + STATE) === LIVE);
  }

  /** Returns true if {@link look} or {@link advance} may have something to do. */
  get hasWork(): boolean {
    const { words } = this.#count;
    if (words.load(this.#own + SEEN) !== words.load(EPOCH) || this.#hasPending) return true;
    return this.#some((slot) => words.load(slot + STATE) === GONE);
  }

  /** @param find counts files without a name that this machine has open */
  look(find: () => void): void {
    const { words } = this.#count;
    const hasTakenOver = this.#takeOver();
    if (!hasTakenOver && words.load(this.#own + SEEN) === words.load(EPOCH)) return;
    find();
    words.store(this.#own + SEEN, words.load(EPOCH));
    // Other machines may have waited for this one. Nothing is in the count twice for longer than that.
    this.#each((slot) => this.#end(slot));
  }

  /** Takes out of the count what every machine has looked for. */
  advance(): void {
    // What was collected begins to wait, and ends at once if there is no other machine.
    for (let step = 0; step < 2 && this.#hasPending; step++) {
      this.#end(this.#own);
      this.#begin();
    }
    this.#end(this.#own);
  }

  get #hasPending(): boolean {
    const { words } = this.#count;
    return words.load(this.#own + WAITS_FOR) !== 0 || this.#hasCollected;
  }

  get #hasCollected(): boolean {
    const { words } = this.#count;
    return words.get(this.#own + COLLECTED) !== 0 || words.get(this.#own + COLLECTED + 2) !== 0;
  }

  #begin(): void {
    const { words } = this.#count;
    if (words.load(this.#own + WAITS_FOR) !== 0 || !this.#hasCollected) return;
    // 0 stands for none.
    const epoch = (words.load(EPOCH) + 1) | 0 || 1;
    this.#move(this.#own + WAITING, words.get(this.#own + COLLECTED), words.get(this.#own + COLLECTED + 2));
    this.#clear(this.#own + COLLECTED);
    words.store(this.#own + WAITS_FOR, epoch);
    // This machine knows what it has of the files that it deletes, but not of those of others.
    if (words.load(this.#own + SEEN) === words.load(EPOCH)) words.store(this.#own + SEEN, epoch);
    words.store(EPOCH, epoch);
  }

  /** Takes out of the count what waits in the slot, if each other machine has looked. */
  #end(of: number): boolean {
    const { words } = this.#count;
    const epoch = words.load(of + WAITS_FOR);
    if (epoch === 0) return false;
    const isBehind = (slot: number) =>
      slot !== of && words.load(slot + STATE) === LIVE && ((words.load(slot + SEEN) - epoch) | 0) < 0;
    if (this.#some(isBehind)) return false;
    this.#count.addBytes(-words.get(of + WAITING));
    this.#count.addFiles(-words.get(of + WAITING + 2));
    this.#clear(of + WAITING);
    words.store(of + WAITS_FOR, 0);
    return true;
  }

  /** Collects what machines had that are gone. */
  #takeOver(): boolean {
    const { words } = this.#count;
    return this.#each((slot) => {
      if (words.load(slot + STATE) !== GONE) return false;
      for (const part of [WAITING, COLLECTED, HELD]) {
        this.#move(this.#own + COLLECTED, words.get(slot + part), words.get(slot + part + 2));
        this.#clear(slot + part);
      }
      words.store(slot + WAITS_FOR, 0);
      words.store(slot + STATE, FREE);
      return true;
    });
  }

  #some(test: (slot: number) => boolean): boolean {
    for (let index = 0; index < SLOT_COUNT; index++) if (test(SLOTS + index * SLOT_WORDS)) return true;
    return false;
  }

  /** Calls `act` for each slot. Returns true if one of the calls did. */
  #each(act: (slot: number) => boolean): boolean {
    let did = false;
    for (let index = 0; index < SLOT_COUNT; index++) did = act(SLOTS + index * SLOT_WORDS) || did;
    return did;
  }

  #move(to: number, bytes: number, files: number): void {
    const { words } = this.#count;
    words.put(to, Math.max(words.get(to) + bytes, 0));
    words.put(to + 2, Math.max(words.get(to + 2) + files, 0));
  }

  #clear(at: number): void {
    this.#count.words.put(at, 0);
    this.#count.words.put(at + 2, 0);
  }
}
