// Identity page tables for the first 4 GiB in 2 MiB pages: AMD64 manual volume 2, 5.3.4 "2-Mbyte
// Page Translation". The kernel soon replaces them, but it starts in long mode, which needs paging.
import { type GuestMemory, PAGE_SIZE } from '../host/memory.js';
import { PAGE_TABLES_ADDRESS } from './layout.js';

const PRESENT = 1;
const WRITABLE = 2;
const PAGE_SIZE_BIT = 0x80;
const LARGE_PAGE = 2 ** 21;
const ENTRIES = 512;
const DIRECTORIES = 4;

/** Writes the tables. Returns the address of the top one, for CR3. */
export function writePageTables(memory: GuestMemory): number {
  const length = (2 + DIRECTORIES) * PAGE_SIZE;
  const bytes = memory.bytes(PAGE_TABLES_ADDRESS, length);
  // All addresses are below 4 GiB, so the high half of every 8-byte entry is 0.
  const entries = new Uint32Array(bytes.buffer, bytes.byteOffset, length / 4);
  const entry = (table: number, index: number, value: number) => {
    entries[(table * PAGE_SIZE) / 4 + index * 2] = value;
  };
  const tableAddress = (table: number) => PAGE_TABLES_ADDRESS + table * PAGE_SIZE;
  entry(0, 0, tableAddress(1) + PRESENT + WRITABLE);
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    entry(1, directory, tableAddress(2 + directory) + PRESENT + WRITABLE);
    for (let index = 0; index < ENTRIES; index++) {
      entry(2 + directory, index, (directory * ENTRIES + index) * LARGE_PAGE + PRESENT + WRITABLE + PAGE_SIZE_BIT);
    }
  }
  return PAGE_TABLES_ADDRESS;
}
