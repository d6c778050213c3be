// The settings of a terminal (termios(3)). Those of x86-64.
import { libcFunction } from './index.js';

/** Bytes of `struct termios`. It begins with the 32-bit words `c_iflag` and `c_oflag`. */
const TERMIOS_SIZE = 60;
const C_OFLAG = 4;
const OPOST = 1;
const TCSADRAIN = 1;

const tcgetattr = libcFunction<[fd: number, settings: Buffer]>('int tcgetattr(int, void *)');
const tcsetattr = libcFunction<[fd: number, when: number, settings: Buffer]>('int tcsetattr(int, int, const void *)');

/**
 * Makes a terminal show output as it comes, without a carriage return before each newline. Does
 * nothing if it is no terminal any more.
 */
export function passOutput(fd: number): void {
  const settings = Buffer.alloc(TERMIOS_SIZE);
  if (tcgetattr(fd, settings) !== 0) return;
  settings.writeUInt32LE((settings.readUInt32LE(C_OFLAG) & ~OPOST) >>> 0, C_OFLAG);
  tcsetattr(fd, TCSADRAIN, settings);
}
