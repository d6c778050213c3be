// The keyboard controller of a PC, reduced to its reset line: "8042 Keyboard Controller" in the IBM
// PC/AT Technical Reference. It has no keyboard, and tells a driver that looks for one at once.
import { boolean, nullable, parseState, record, u8 } from '../saved-state.js';

/** Data port, and status and command port. */
export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;

/** The data port has an answer. */
const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM_FLAG = 0x04;
/** The keyboard is not locked. */
const STATUS_UNLOCKED = 0x10;

const COMMAND_READ_CONFIG = 0x20;
const COMMAND_WRITE_CONFIG = 0x60;
const COMMAND_SELF_TEST = 0xaa;
const COMMAND_TEST_PORT = 0xab;
const COMMAND_RESET = 0xfe;

const SELF_TEST_PASSED = 0x55;
const PORT_STUCK = 0x01;
/** System flag; both ports' clocks off. */
const CONFIG_DEFAULT = 0x34;

export interface I8042State {
  config: number;
  /** The answer in the data port; null: none. */
  answer: number | null;
  writesConfig: boolean;
}

const checkState = record<I8042State>({ config: u8, answer: nullable(u8), writesConfig: boolean });

/** An i8042 that answers its own commands and pulses the reset line. */
export class I8042 {
  readonly #reset: () => void;
  #config = CONFIG_DEFAULT;
  #answer: number | undefined;
  #writesConfig = false;

  /** @param reset the guest asked for a reset of the machine. */
  constructor(reset: () => void) {
    this.#reset = reset;
  }

  /** The guest reads `port`, one of the two. */
  in(port: number): number {
    if (port === I8042_COMMAND_PORT) {
      return STATUS_SYSTEM_FLAG | STATUS_UNLOCKED | (this.#answer === undefined ? 0 : STATUS_OUTPUT_FULL);
    }
    const answer = this.#answer ?? 0;
    this.#answer = undefined;
    return answer;
  }

  /** The guest writes `port`, one of the two. */
  out(port: number, value: number): void {
    if (port === I8042_DATA_PORT) {
      if (this.#writesConfig) this.#config = value;
      this.#writesConfig = false;
      return;
    }
    this.#writesConfig = value === COMMAND_WRITE_CONFIG;
    switch (value) {
      case COMMAND_READ_CONFIG:
        this.#answer = this.#config;
        break;
      case COMMAND_SELF_TEST:
        this.#answer = SELF_TEST_PASSED;
        break;
      case COMMAND_TEST_PORT:
        this.#answer = PORT_STUCK;
        break;
      case COMMAND_RESET:
        this.#reset();
        break;
    }
  }

  save(): I8042State {
    return { config: this.#config, answer: this.#answer ?? null, writesConfig: this.#writesConfig };
  }

  /**
   * Continues from a saved state.
   * @throws MachineError `bad-snapshot`; the controller is then unchanged
   */
  restore(saved: unknown): void {
    const { config, answer, writesConfig } = parseState('i8042', checkState, saved);
    this.#config = config;
    this.#answer = answer ?? undefined;
    this.#writesConfig = writesConfig;
  }
}
