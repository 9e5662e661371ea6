// Command atlas checks a migration directory with Atlas's own library.
//
//	atlas DIRECTORY
//
// Prints "ok" and the number of files, or the error with exit status 1. It is the tests' oracle: our own
// reading of the sum file's rule must not be what our own sum file is judged by.
package main

import (
	"fmt"
	"os"

	"ariga.io/atlas/sql/migrate"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: atlas DIRECTORY")
		os.Exit(2)
	}
	files, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("ok %d\n", files)
}

func check(path string) (int, error) {
	dir, err := migrate.NewLocalDir(path)
	if err != nil {
		return 0, err
	}
	if err := migrate.Validate(dir); err != nil {
		return 0, err
	}
	files, err := dir.Files()
	if err != nil {
		return 0, err
	}
	// A file must also come apart into statements: Atlas executes and counts them one by one.
	for _, file := range files {
		if _, err := file.Stmts(); err != nil {
			return 0, fmt.Errorf("%s: %w", file.Name(), err)
		}
	}
	return len(files), nil
}
