// Reads ACPI tables and the AML of our DSDT, by the specification and not by the writer's code.
import type { GuestMemory } from '../../../../../vmm/host/memory.js';

/** The tables by signature, from the root pointer on: those of the XSDT, and then the DSDT. */
export function readAcpi(memory: GuestMemory, pointer: number): Map<string, Uint8Array> {
  const rsdp = Buffer.from(memory.bytes(pointer, 36));
  const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
  if (rsdp.toString('latin1', 0, 8) !== 'RSD PTR ' || pointer % 16 !== 0) throw new Error('no root pointer');
  if (sum(rsdp.subarray(0, 20)) !== 0 || sum(rsdp) !== 0) throw new Error('a wrong checksum of the root pointer');
  const table = (address: number): Buffer => {
    const length = Buffer.from(memory.bytes(address, 8)).readUInt32LE(4);
    return Buffer.from(memory.bytes(address, length));
  };
  const xsdt = table(Number(rsdp.readBigUInt64LE(24)));
  if (sum(xsdt) !== 0) throw new Error('a wrong checksum of the XSDT');
  const tables = new Map<string, Uint8Array>();
  for (let at = 36; at < xsdt.length; at += 8) {
    const each = table(Number(xsdt.readBigUInt64LE(at)));
    tables.set(each.toString('latin1', 0, 4), each);
  }
  const facp = tables.get('FACP');
  if (facp === undefined) throw new Error('no FADT');
  const dsdt = table(Number(Buffer.from(facp).readBigUInt64LE(140)));
  tables.set(dsdt.toString('latin1', 0, 4), dsdt);
  return tables;
}

export interface AcpiDevice {
  hid: string;
  uid: number;
  address?: number;
  length?: number;
  interrupt?: number;
}

/** The devices in the scope \_SB. */
export function readDsdt(table: Uint8Array): AcpiDevice[] {
  const aml = Buffer.from(table).subarray(36);
  let at = 0;
  const byte = () => aml[at++]!;
  const bytes = (count: number) => {
    at += count;
    return aml.subarray(at - count, at);
  };
  const expectBytes = (...expected: number[]) => {
    const found = [...bytes(expected.length)];
    if (found.join() !== expected.join()) throw new Error(`${found} and not ${expected} at ${at}`);
  };
  /** Returns the end of the package. */
  const packageEnd = (): number => {
    const start = at;
    const lead = byte();
    let length = lead & (lead >> 6 === 0 ? 0x3f : 0xf);
    for (let index = 0; index < lead >> 6; index++) length |= byte() << (4 + 8 * index);
    return start + length;
  };
  const integer = (): number => {
    const prefix = byte();
    if (prefix <= 1) return prefix;
    const size = { 10: 1, 11: 2, 12: 4 }[prefix];
    if (size === undefined) throw new Error(`no integer at ${at}`);
    return bytes(size).readUIntLE(0, size);
  };
  const resources = (): Partial<AcpiDevice> => {
    expectBytes(0x11);
    const end = packageEnd();
    if (integer() !== end - at) throw new Error('the size of a buffer is not its length');
    const found: Partial<AcpiDevice> = {};
    while (at < end) {
      const tag = byte();
      const length = (tag & 0x80) === 0 ? tag & 7 : bytes(2).readUInt16LE(0);
      const body = bytes(length);
      if (tag === 0x86) Object.assign(found, { address: body.readUInt32LE(1), length: body.readUInt32LE(5) });
      if (tag === 0x89) found.interrupt = body.readUInt32LE(2);
    }
    return found;
  };
  const devices: AcpiDevice[] = [];
  expectBytes(0x10);
  const end = packageEnd();
  expectBytes(...Buffer.from('\\_SB_'));
  while (at < end) {
    expectBytes(0x5b, 0x82);
    const deviceEnd = packageEnd();
    bytes(4);
    const device: AcpiDevice = { hid: '', uid: -1 };
    while (at < deviceEnd) {
      expectBytes(0x08);
      const name = bytes(4).toString('latin1');
      if (name === '_CRS') Object.assign(device, resources());
      else if (aml[at] === 0x0d) {
        const zero = aml.indexOf(0, at);
        device.hid = aml.toString('latin1', at + 1, zero);
        at = zero + 1;
      } else if (name === '_HID') device.hid = integer().toString(16);
      else device.uid = integer();
    }
    devices.push(device);
  }
  if (at !== aml.length) throw new Error('bytes after the scope');
  return devices;
}
