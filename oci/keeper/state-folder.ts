// Files of the state folder of a container, which is the working directory (oci/command/oci.h).
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
export function replaceFile(name: string, text: string): void {
  writeFileSync(`${name}.new`, text);
  renameSync(`${name}.new`, name);
}
