// Paths of the built programs that the benchmarks measure, and of the benchmarks' own files.
import { fileURLToPath } from 'node:url';

const root = new URL(import.meta.url.endsWith('.ts') ? '../../' : '../', import.meta.url);

export const CLI = fileURLToPath(new URL('bin/tsvm', root));
export const OCI_RUNTIME = fileURLToPath(new URL('dist/tsvm-oci', root));
export const MACHINE_PROGRAM = fileURLToPath(new URL('dist/machine.cjs', root));
export const BENCH_PROGRAM = fileURLToPath(new URL('dist/bench.js', root));
export const LAB_PROGRAM = fileURLToPath(new URL('dist/lab.js', root));
export const GUEST_INIT_SOURCE = fileURLToPath(new URL('test/bench/guest-init.c', root));
export const GUEST_FIRST_BYTE_SOURCE = fileURLToPath(new URL('test/bench/guest-first-byte.c', root));
export const GUEST_RUN_SOURCE = fileURLToPath(new URL('test/bench/guest-run.c', root));
export const GUEST_STREAM_SOURCE = fileURLToPath(new URL('test/bench/guest-stream.c', root));
export const GUEST_WORK_SOURCE = fileURLToPath(new URL('test/bench/guest-work.c', root));
export const GUEST_VOLUMES_SCRIPT = fileURLToPath(new URL('test/bench/guest-volumes.sh', root));
export const CONNECTIONS_SOURCE = fileURLToPath(new URL('test/bench/connections.c', root));
export const TENANT_SOURCES = fileURLToPath(new URL('test/fixtures/tenants/', root));
/** test/fixtures/flows/device.ts */
export const FLOWS_DEVICE = fileURLToPath(new URL('dist/bench/device.mjs', root));
/** Folder for files that only the benchmarks need. */
export const BENCH_FOLDER = fileURLToPath(new URL('dist/bench/', root));
