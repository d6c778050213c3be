// What the loaders put into guest memory, and where.

export interface LoadedKernel {
  format: 'elf' | 'bzimage';
  /** Guest address of the 64-bit entry point. */
  entry: number;
  /** First guest address that the kernel does not need for itself when it starts. */
  end: number;
  /** A bzImage's setup header: the bytes from 0x1f1 on. */
  setupHeader?: Uint8Array;
  /** First guest address that the initial RAM file system must not reach. */
  initramfsLimit: number;
}

export interface LoadedInitramfs {
  /** Guest address, a multiple of the page size. */
  address: number;
  /** Bytes. */
  size: number;
}
