// Asks verify.go about each line "zone pass" and prints yes or no.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	keys, err := Keys()
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		zone, pass, _ := strings.Cut(lines.Text(), " ")
		if claims, err := Verify(keys, pass, zone); err != nil {
			fmt.Println("no")
		} else {
			fmt.Println("yes", claims.Subject)
		}
	}
}
