"""What a chip is: data, machine, and the contract of a target plug-in."""
