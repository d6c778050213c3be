// Devices of a container are checked, and translated for the agent.
import { describe, expect, test } from 'vitest';
import { checkDevices, type Device, deviceSpecs } from '../../../../sandbox/spec/devices.js';

describe('devices', () => {
  test('are those of the request, at their own path with all rights unless it says otherwise', () => {
    const devices: Device[] = [
      { path: '/dev/fuse' },
      { path: '/dev/net/tun', target: '/tun', access: 'wr' },
      { path: '/dev/loop0', access: 'm' },
    ];
    checkDevices(devices);
    expect(deviceSpecs(devices)).toEqual([
      { path: '/dev/fuse', target: '/dev/fuse', access: ['mknod', 'read', 'write'] },
      { path: '/dev/net/tun', target: '/tun', access: ['read', 'write'] },
      { path: '/dev/loop0', target: '/dev/loop0', access: ['mknod'] },
    ]);
  });

  test.each<[Device, string]>([
    [{ path: '' }, "invalid device ''"],
    [{ path: 'fuse' }, "invalid device 'fuse'"],
    [{ path: '/dev' }, "invalid device '/dev'"],
    [{ path: '/dev/' }, "invalid device '/dev/'"],
    [{ path: '/etc/passwd' }, "invalid device '/etc/passwd'"],
    [{ path: '/dev/../etc/passwd' }, "invalid device '/dev/../etc/passwd'"],
    [{ path: '/dev/a\0b' }, 'invalid device'],
    [{ path: `/dev/${'a'.repeat(4096)}` }, 'invalid device'],
    [{ path: '/dev/fuse', target: '' }, "invalid device path ''"],
    [{ path: '/dev/fuse', target: 'fuse' }, "invalid device path 'fuse'"],
    [{ path: '/dev/fuse', target: '/' }, "invalid device path '/'"],
    [{ path: '/dev/fuse', target: '/a/../b' }, "invalid device path '/a/../b'"],
    [{ path: '/dev/fuse', target: '/a/' }, "invalid device path '/a/'"],
    [{ path: '/dev/fuse', access: '' }, "invalid access ''"],
    [{ path: '/dev/fuse', access: 'rr' }, "invalid access 'rr'"],
    [{ path: '/dev/fuse', access: 'rx' }, "invalid access 'rx'"],
  ])('%j is refused', (device, message) => {
    expect(() => checkDevices([device])).toThrow(message);
  });

  test('are at most 64', () => {
    const devices = Array.from({ length: 65 }, (_, index) => ({ path: `/dev/loop${index}` }));
    checkDevices(devices.slice(1));
    expect(() => checkDevices(devices)).toThrow('more than 64 devices');
  });
});
