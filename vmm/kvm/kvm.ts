// /dev/kvm: what this host's KVM can do (Linux, Documentation/virt/kvm/api.rst, "System ioctls").
import { keep } from '../host/kept-descriptors.js';
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';
import { type CpuidEntry, decodeCpuid, MAX_CPUID_ENTRIES } from './cpuid.js';
import { IOCTLS, type IoctlCounts, type IoctlName, kvmIoctl } from './ioctl.js';
import { kvm_cpuid_entry2, kvm_cpuid2, kvm_msr_list } from './structs.js';

/** The only version of the API since Linux 2.6.22. */
const API_VERSION = 12;

/** More MSRs than any KVM lists. */
export const MAX_MSRS = 1024;

/** An open /dev/kvm. */
export class Kvm implements Disposable {
  /** Counts ioctls on this descriptor and on every VM and vCPU made from it. */
  readonly ioctls: IoctlCounts = {};

  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  get fd(): number {
    return this.#fd;
  }

  /** Moves the descriptor to where calls for shares do not reach it. @throws libc.SystemError */
  keep(): void {
    this.#fd = keep(this.#fd);
  }

  /**
   * Opens `/dev/kvm`.
   * @throws MachineError `no-kvm`, `kvm-permission`, or `kvm-unusable` if the API is not version 12
   */
  static open(path = '/dev/kvm'): Kvm {
    const fd = libc.open(path, libc.O_RDWR | libc.O_CLOEXEC, 0);
    return Kvm.opened(fd < 0 ? -libc.errno() : fd, path);
  }

  /**
   * @param fd of `/dev/kvm`, owned from now on; or the negative errno with which it could not be
   *   opened
   * @throws MachineError as {@link open}
   */
  static opened(fd: number, path = '/dev/kvm'): Kvm {
    if (fd < 0) throw openError(path, new libc.SystemError('open', -fd));
    const kvm = new Kvm(fd);
    const version = libc.ioctl(fd, IOCTLS.KVM_GET_API_VERSION, 0);
    if (version !== API_VERSION) {
      kvm[Symbol.dispose]();
      throw new MachineError('kvm-unusable', `${path} has KVM API version ${version}, not ${API_VERSION}`);
    }
    return kvm;
  }

  #ioctl(name: IoctlName, argument: number | NodeJS.TypedArray): number {
    return kvmIoctl(this.ioctls, this.fd, name, argument);
  }

  /** Returns the value of a KVM_CAP_*, or 0 if KVM does not have it. */
  checkExtension(capability: number): number {
    return this.#ioctl('KVM_CHECK_EXTENSION', capability);
  }

  /** Size in bytes of a vCPU's `kvm_run` mapping. */
  get vcpuMmapSize(): number {
    return this.#ioctl('KVM_GET_VCPU_MMAP_SIZE', 0);
  }

  /** Returns the CPUID leaves that this host's KVM can give a guest. */
  supportedCpuid(): CpuidEntry[] {
    const buffer = new Uint8Array(kvm_cpuid2.size + MAX_CPUID_ENTRIES * kvm_cpuid_entry2.size);
    new DataView(buffer.buffer).setUint32(kvm_cpuid2.nent, MAX_CPUID_ENTRIES, true);
    this.#ioctl('KVM_GET_SUPPORTED_CPUID', buffer);
    return decodeCpuid(buffer);
  }

  /** Returns the indices of the MSRs that belong to a saved vCPU. */
  msrIndices(): number[] {
    const buffer = new Uint32Array(kvm_msr_list.size / 4 + MAX_MSRS);
    buffer[0] = MAX_MSRS;
    this.#ioctl('KVM_GET_MSR_INDEX_LIST', buffer);
    return Array.from(buffer.subarray(1, 1 + buffer[0]));
  }

  [Symbol.dispose](): void {
    libc.close(this.fd);
  }
}

function openError(path: string, cause: libc.SystemError): MachineError {
  switch (cause.errno) {
    case libc.ENOENT:
    case libc.ENXIO:
    case libc.ENODEV:
      return new MachineError('no-kvm', `no ${path}: load kvm_intel or kvm_amd, or enable virtualization in firmware`, {
        cause,
      });
    case libc.EACCES:
    case libc.EPERM: {
      const message = `no permission to open ${path}: add the user to its group (sudo usermod -aG kvm "$USER") and log in again`;
      return new MachineError('kvm-permission', message, { cause });
    }
    default:
      return new MachineError('host', `cannot open ${path}: ${cause.code}`, { cause });
  }
}
