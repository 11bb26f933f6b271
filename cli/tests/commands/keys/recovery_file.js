// Recovery files by the Pubky SDK.
//
//     node recovery_file.js MODULES create FILE PASSPHRASE   makes a key, and prints it
//     node recovery_file.js MODULES read FILE PASSPHRASE     prints the key in the file
//
// MODULES is the node_modules folder that the SDK is in.

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [modules, command, file, passphrase] = process.argv.slice(2)
const { Keypair } = createRequire(import.meta.url)(join(modules, '@synonymdev', 'pubky'))

function create () {
  const keypair = Keypair.random()
  writeFileSync(file, keypair.createRecoveryFile(passphrase), { mode: 0o600 })
  return keypair
}

const keypair = { create, read: () => Keypair.fromRecoveryFile(readFileSync(file), passphrase) }[command]()
console.log(keypair.publicKey.z32())
