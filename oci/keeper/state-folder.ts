// Files of the state folder of a container (oci/command/oci.h).
import { renameSync, writeFileSync } from 'node:fs';

/** The state of a container (OCI runtime specification 1.1, runtime.md). */
export interface ContainerState {
  ociVersion: string;
  id: string;
  /** Absolute path. */
  bundle: string;
  annotations: Record<string, string>;
  status: string;
  /** Of the stub. */
  pid?: number;
}

/** Replaces a file: its readers see the old text or the new one. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}
