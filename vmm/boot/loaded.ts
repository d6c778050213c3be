// What the loaders have put into guest memory, and where.

export interface LoadedKernel {
  format: 'elf' | 'bzimage';
  /** Guest address of the 64-bit entry point. */
  entry: number;
  /** First guest address that the kernel does not need for itself when it starts. */
  end: number;
  /** A bzImage's setup header, the bytes from 0x1f1 of its first sectors. */
  setupHeader?: Uint8Array;
  /** First guest address that the initial RAM file system may not reach. */
  initramfsLimit: number;
}

export interface LoadedInitramfs {
  /** Guest address, a multiple of the page size. */
  address: number;
  /** Bytes. */
  size: number;
}
