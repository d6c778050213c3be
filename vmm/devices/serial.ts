// The first serial port of a PC, a 16550A: "PC16550D Universal Asynchronous Receiver/Transmitter
// with FIFOs" (National Semiconductor, 1995), section 8 "Registers". Bytes are sent at once, so the
// transmitter is always empty.
import { boolean, integer, list, parseState, record, u8, u16 } from '../saved-state.js';

export const SERIAL_PORT = 0x3f8;
export const SERIAL_PORT_LENGTH = 8;
export const SERIAL_IRQ = 4;

// Registers by offset; with DLAB set, the first two are the divisor latch.
const DATA = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const IER_RECEIVED = 0x01;
const IER_TRANSMITTER_EMPTY = 0x02;
const IER_MASK = 0x0f;
const IIR_NONE = 0x01;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_FIFO_ENABLED = 0xc0;
const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;
const LCR_DLAB = 0x80;
const MCR_MASK = 0x1f;
const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const LSR_DATA_READY = 0x01;
const LSR_TRANSMITTER_EMPTY = 0x60;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

const FIFO_SIZE = 16;

export interface SerialState {
  divisor: number;
  ier: number;
  fifo: boolean;
  lcr: number;
  mcr: number;
  scr: number;
  transmitted: boolean;
  received: number[];
}

const checkState = record<SerialState>({
  divisor: u16,
  ier: integer(0, IER_MASK),
  fifo: boolean,
  lcr: u8,
  mcr: integer(0, MCR_MASK),
  scr: u8,
  transmitted: boolean,
  received: list(u8, 0, FIFO_SIZE),
});

export interface SerialLine {
  /** The guest sent a byte. */
  write(byte: number): void;
  /** Raises or lowers the interrupt line. */
  setInterrupt(level: boolean): void;
}

/** A 16550A. Offsets are those of its 8 ports; values are bytes. */
export class Serial {
  readonly #line: SerialLine;
  #divisor = 12;
  #ier = 0;
  #fifo = false;
  #lcr = 3;
  #mcr = MCR_OUT2;
  #scr = 0;
  /** The transmitter has become empty, and the guest has not read that from IIR yet. */
  #transmitted = false;
  #received: number[] = [];
  #level = false;

  constructor(line: SerialLine) {
    this.#line = line;
  }

  /** The guest reads the port at `offset`. */
  in(offset: number): number {
    const divisorLatch = (this.#lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA: {
        if (divisorLatch) return this.#divisor & 0xff;
        const byte = this.#received.shift() ?? 0;
        this.#updateInterrupt();
        return byte;
      }
      case IER:
        return divisorLatch ? this.#divisor >> 8 : this.#ier;
      case IIR_FCR: {
        const pending = this.#pending();
        if (pending === IIR_TRANSMITTER_EMPTY) {
          this.#transmitted = false;
          this.#updateInterrupt();
        }
        return pending | (this.#fifo ? IIR_FIFO_ENABLED : 0);
      }
      case LCR:
        return this.#lcr;
      case MCR:
        return this.#mcr;
      case LSR:
        return LSR_TRANSMITTER_EMPTY | (this.#received.length > 0 ? LSR_DATA_READY : 0);
      case MSR:
        return this.#modemStatus();
      case SCR:
        return this.#scr;
      default:
        return 0xff;
    }
  }

  /** The guest writes the port at `offset`. */
  out(offset: number, value: number): void {
    const divisorLatch = (this.#lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        if (divisorLatch) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#send(value);
        break;
      case IER:
        if (divisorLatch) {
          this.#divisor = (this.#divisor & 0xff) | (value << 8);
          break;
        }
        // Enabling the interrupt while the transmitter is empty raises it: Linux relies on it to
        // start sending.
        if ((value & IER_TRANSMITTER_EMPTY) === 0) this.#transmitted = false;
        else if ((this.#ier & IER_TRANSMITTER_EMPTY) === 0) this.#transmitted = true;
        this.#ier = value & IER_MASK;
        this.#updateInterrupt();
        break;
      case IIR_FCR:
        this.#fifo = (value & FCR_ENABLE) !== 0;
        if ((value & FCR_CLEAR_RECEIVER) !== 0) this.#received = [];
        this.#updateInterrupt();
        break;
      case LCR:
        this.#lcr = value;
        break;
      case MCR:
        this.#mcr = value & MCR_MASK;
        this.#updateInterrupt();
        break;
      case SCR:
        this.#scr = value;
        break;
    }
  }

  /**
   * Bytes arrive on the line. Returns the number that fit into the FIFO; the caller keeps the rest.
   */
  receive(bytes: Uint8Array): number {
    if ((this.#mcr & MCR_LOOP) !== 0) return 0;
    const count = Math.min(bytes.length, FIFO_SIZE - this.#received.length);
    this.#received.push(...bytes.subarray(0, count));
    this.#updateInterrupt();
    return count;
  }

  save(): SerialState {
    return {
      divisor: this.#divisor,
      ier: this.#ier,
      fifo: this.#fifo,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scr: this.#scr,
      transmitted: this.#transmitted,
      received: [...this.#received],
    };
  }

  /**
   * Continues from a saved state. Raises the interrupt line if it was up.
   * @throws MachineError `bad-snapshot`; the port is then unchanged
   */
  restore(saved: unknown): void {
    const state = parseState('serial', checkState, saved);
    this.#divisor = state.divisor;
    this.#ier = state.ier;
    this.#fifo = state.fifo;
    this.#lcr = state.lcr;
    this.#mcr = state.mcr;
    this.#scr = state.scr;
    this.#transmitted = state.transmitted;
    this.#received = state.received;
    this.#updateInterrupt();
  }

  #send(byte: number): void {
    if ((this.#mcr & MCR_LOOP) === 0) this.#line.write(byte);
    else if (this.#received.length < FIFO_SIZE) this.#received.push(byte);
    this.#transmitted = (this.#ier & IER_TRANSMITTER_EMPTY) !== 0;
    this.#updateInterrupt();
  }

  /**
   * In loopback mode, MCR's outputs are the modem's inputs. Otherwise a modem is present and ready.
   */
  #modemStatus(): number {
    if ((this.#mcr & MCR_LOOP) === 0) return MSR_DCD | MSR_DSR | MSR_CTS;
    return (
      ((this.#mcr & MCR_RTS) !== 0 ? MSR_CTS : 0) |
      ((this.#mcr & MCR_DTR) !== 0 ? MSR_DSR : 0) |
      ((this.#mcr & MCR_OUT1) !== 0 ? MSR_RI : 0) |
      ((this.#mcr & MCR_OUT2) !== 0 ? MSR_DCD : 0)
    );
  }

  /** The pending interrupt of highest priority, in IIR's encoding. */
  #pending(): number {
    if (this.#received.length > 0 && (this.#ier & IER_RECEIVED) !== 0) return IIR_RECEIVED;
    if (this.#transmitted) return IIR_TRANSMITTER_EMPTY;
    return IIR_NONE;
  }

  /** On a PC, OUT2 connects the interrupt to its line; loopback mode disconnects it. */
  #updateInterrupt(): void {
    const connected = (this.#mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2;
    const level = connected && this.#pending() !== IIR_NONE;
    if (level === this.#level) return;
    this.#level = level;
    this.#line.setInterrupt(level);
  }
}
