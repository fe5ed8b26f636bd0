"""From the questions of filters to answers about images, and what is known of the judges that gave them."""
