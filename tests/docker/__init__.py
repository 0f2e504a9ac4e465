"""The images and the composition of docker/ on a real engine of the tests' own."""
