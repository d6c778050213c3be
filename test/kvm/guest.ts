// Tiny guests for the tests: assembled when a test runs, and placed in a VM of /dev/kvm with one
// vCPU.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { filterCpuid } from '../../vmm/boot/cpuid.js';
import * as libc from '../../vmm/host/libc.js';
import { AllocatedMemory } from '../../vmm/host/memory.js';
import { IOCTLS } from '../../vmm/kvm/ioctl.js';
import { Kvm } from '../../vmm/kvm/kvm.js';
import { kvm_run } from '../../vmm/kvm/structs.js';
import { Vcpu } from '../../vmm/kvm/vcpu.js';
import { Vm } from '../../vmm/kvm/vm.js';

/** Guest address of the code, and its entry point. */
export const CODE = 0x1000;
const PML4 = 0x10000;
const PDPT = 0x11000;
const PAGE_DIRECTORIES = 0x12000;

/** Assembles and links `source` (Intel syntax). Returns the linker's output. */
function link(source: string, bits: 16 | 64, linkOptions: string[]): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-guest-'));
  try {
    const object = join(folder, 'guest.o');
    const output = join(folder, 'guest');
    execFileSync('as', ['--64', '-o', object], { input: `.intel_syntax noprefix\n.code${bits}\n${source}\n` });
    execFileSync('ld', [...linkOptions, '-o', output, object]);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Returns the machine code of `source`, to run in real mode or long mode at {@link CODE}. */
export function assemble(source: string, bits: 16 | 64 = 16): Uint8Array {
  return link(source, bits, ['-Ttext', `0x${CODE.toString(16)}`, '--entry', '0', '--oformat', 'binary']);
}

/** Returns an ELF file with `source` as its 64-bit code, loaded at 16 MiB as a Linux kernel is. */
export function assembleKernel(source: string): Uint8Array {
  return link(`.globl _start\n_start:\n${source}`, 64, ['-static', '-Ttext', '0x1000000']);
}

export interface GuestOptions {
  /** Guest memory in bytes. */
  memory?: number;
  bits?: 16 | 64;
  /** If the interrupt controllers are in the kernel, a vCPU's HLT waits there for an interrupt. */
  irqchip?: boolean;
}

/** A VM with one vCPU that is about to run `source`. */
export class Guest implements Disposable {
  readonly kvm: Kvm;
  readonly memory: AllocatedMemory;
  readonly vm: Vm;
  readonly vcpu: Vcpu;

  constructor(source: string, { memory = 2 ** 20, bits = 16, irqchip = false }: GuestOptions = {}) {
    const code = assemble(source, bits);
    this.kvm = Kvm.open();
    this.memory = AllocatedMemory.allocate(memory);
    this.vm = Vm.create(this.kvm);
    this.vm.addMemory(this.memory.regions);
    this.vm.reserveRealModePages(0xfffbc000, 0xfffbd000);
    if (irqchip) this.vm.createIrqchip();
    this.vcpu = Vcpu.create(this.vm, 0);
    this.vcpu.setCpuid(filterCpuid(this.kvm.supportedCpuid(), { cpu: 0, cpus: 1 }));
    this.memory.bytes(CODE, code.length).set(code);
    if (bits === 16) enterRealMode(this.vcpu);
    else this.#enterLongMode();
    this.vcpu.setRegisters({ rip: CODE, rsp: CODE, rflags: 2 });
  }

  /** Maps the first 8 GiB to themselves, in pages of 2 MiB. */
  #enterLongMode(): void {
    const PRESENT_WRITABLE = 3;
    const LARGE = 0x80;
    const entry = (table: number, index: number, value: number) => {
      const bytes = this.memory.bytes(table + index * 8, 8);
      new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt(value), true);
    };
    entry(PML4, 0, PDPT + PRESENT_WRITABLE);
    for (let gib = 0; gib < 8; gib++) entry(PDPT, gib, PAGE_DIRECTORIES + gib * 4096 + PRESENT_WRITABLE);
    for (let page = 0; page < 8 * 512; page++) {
      entry(PAGE_DIRECTORIES, page, page * 2 ** 21 + LARGE + PRESENT_WRITABLE);
    }
    const flat = { base: 0, limit: 0xffffffff, present: 1, dpl: 0, s: 1, g: 1 };
    const data = { ...flat, selector: 0x10, type: 3, db: 1, l: 0 };
    const cs = { ...flat, selector: 0x08, type: 11, db: 0, l: 1 };
    this.vcpu.setSpecialRegisters({
      segments: { cs, ds: data, es: data, fs: data, gs: data, ss: data },
      cr0: 0x80000011,
      cr3: PML4,
      cr4: 0x20,
      efer: 0x500,
    });
  }

  /** Calls KVM_RUN once, in this thread. Returns the exit reason. */
  run(): number {
    while (libc.ioctl(this.vcpu.fd, IOCTLS.KVM_RUN, 0) < 0) {
      if (libc.errno() !== libc.EAGAIN) throw new libc.SystemError('KVM_RUN', libc.errno());
    }
    return this.vcpu.run.getUint32(kvm_run.exit_reason, true);
  }

  [Symbol.dispose](): void {
    this.vcpu[Symbol.dispose]();
    this.vm[Symbol.dispose]();
    this.memory[Symbol.dispose]();
    this.kvm[Symbol.dispose]();
  }
}

export function enterRealMode(vcpu: Vcpu): void {
  const segment = { base: 0, limit: 0xffff, selector: 0, type: 3, present: 1, dpl: 0, db: 0, s: 1, l: 0, g: 0 };
  const cs = { ...segment, type: 11 };
  vcpu.setSpecialRegisters({ segments: { cs, ds: segment, es: segment, ss: segment } });
}

/** Programs of the machine are scripts: `NAME.cjs`. */
const AS_SCRIPTS = {
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  define: { 'import.meta.url': '__url' },
  banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
} as const;

/**
 * Bundles programs of the machine, or of a test. The bundles lie beside the project's modules, where
 * they find koffi.
 * @param format `cjs` for what the build makes a script
 */
export async function bundle(
  name: string,
  entryPoints: Record<string, string>,
  format: 'esm' | 'cjs' = 'esm',
): Promise<URL> {
  const outdir = new URL(`../../node_modules/.cache/tsvm-test/${name}-${process.pid}/`, import.meta.url);
  const root = new URL('../../', import.meta.url);
  await build({
    entryPoints: Object.fromEntries(
      Object.entries(entryPoints).map(([output, source]) => [output, new URL(source, root).pathname]),
    ),
    outdir: outdir.pathname,
    bundle: true,
    ...(format === 'esm' ? { format, splitting: true } : AS_SCRIPTS),
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    logLevel: 'warning',
  });
  return outdir;
}
