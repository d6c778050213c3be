// The store of one $TSVM_HOME: what is on the way of every run is here, the rest is loaded when it is asked for.

import type { Store } from '../types.js';

/** The store under `home`, which need not exist yet. Reads nothing until it is asked something. */
export declare function openStore(home: string): Store;
